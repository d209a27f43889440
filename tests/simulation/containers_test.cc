// SPDX-License-Identifier: Apache-2.0
// The unit core's containers against obvious models, with random operations from seeds.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <string>

#include "supervisor/unit/connections.h"
#include "supervisor/unit/fifo.h"
#include "tests/simulation/random.h"

namespace ftrun::sim {
namespace {

TEST(ByteQueue, AgreesWithAString) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    unit::ByteQueue queue;
    std::string all;  // every byte ever appended
    uint64_t start = 0;
    for (int i = 0; i < 200; ++i) {
      std::string more(random.sized(3000), ' ');
      for (char& byte : more) {
        byte = static_cast<char>(random.next());
      }
      queue.append({reinterpret_cast<const uint8_t*>(more.data()), more.size()});
      all += more;
      start += random.below(all.size() - start + 1);
      queue.trim(start);
      ASSERT_EQ(queue.start(), start);
      ASSERT_EQ(queue.end(), all.size());
      const uint64_t from = start + random.below(all.size() - start + 1);
      const auto [first, second] = queue.from(from);
      std::string got(first.begin(), first.end());
      got.append(second.begin(), second.end());
      ASSERT_EQ(got, all.substr(from)) << "seed " << seed;
    }
  }
}

TEST(Fifo, AgreesWithADeque) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Random random(seed);
    unit::Fifo<uint64_t> fifo;
    std::deque<uint64_t> model;
    for (int i = 0; i < 3000; ++i) {
      if (random.below(100) < 52) {
        model.push_back(random.next());
        fifo.push(model.back());
      } else if (!model.empty()) {
        const uint64_t count = random.sized(model.size());
        model.erase(model.begin(), model.begin() + static_cast<long>(count));
        fifo.pop(count);
      }
      ASSERT_EQ(fifo.size(), model.size());
      if (!model.empty()) {
        ASSERT_EQ(fifo.front(), model.front());
        ASSERT_EQ(fifo.back(), model.back());
      }
    }
  }
}

TEST(ConnectionTable, AgreesWithAMap) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    unit::ConnectionTable table;
    std::map<ConnectionId, uint64_t> model;
    ConnectionId next = 1;
    for (int i = 0; i < 5000; ++i) {
      if (random.below(100) < 52) {
        next += static_cast<ConnectionId>(random.sized(5000));
        table.insert(next).received = model[next] = random.next();
      } else if (!model.empty()) {
        auto victim = model.lower_bound(static_cast<ConnectionId>(random.below(next) + 1));
        victim = victim == model.end() ? model.begin() : victim;
        table.erase(*table.find(victim->first));
        ASSERT_EQ(table.find(victim->first), nullptr);
        model.erase(victim);
      }
      ASSERT_EQ(table.size(), model.size());
      ASSERT_EQ(table.find(0), nullptr);
    }
    for (const auto& [id, value] : model) {
      ASSERT_NE(table.find(id), nullptr) << id;
      ASSERT_EQ(table.find(id)->received, value);
    }
    size_t visited = 0;
    table.for_each([&](unit::Connection& connection) {
      ++visited;
      ASSERT_EQ(model.count(connection.id), 1u);
    });
    ASSERT_EQ(visited, model.size());
  }
}

}  // namespace
}  // namespace ftrun::sim
