// SPDX-License-Identifier: Apache-2.0
// Random input for every decoder of eventlog: what tests/fuzz does with coverage, here from a seed
// and without a special compiler. Runs in the test process only.
#include <gtest/gtest.h>

#include <random>

#include "tests/fuzz/decoders.h"
#include "tests/unit/eventlog_samples.h"

namespace ftrun {
namespace {

constexpr int kInputs = 200'000;

template <typename Items>
std::vector<samples::Encoded> encodings(const Items& items) {
  std::vector<samples::Encoded> all;
  for (const auto& item : items) {
    all.push_back(samples::encode(item));
    if (all.back().size() > 300) {
      all.pop_back();
    }
  }
  return all;
}

// Valid encodings with a few bytes changed, removed or repeated, and pure noise.
samples::Encoded mutate(const std::vector<samples::Encoded>& seeds, std::mt19937& random) {
  samples::Encoded input;
  for (size_t parts = random() % 4; parts > 0; --parts) {
    const samples::Encoded& seed = seeds[random() % seeds.size()];
    input.insert(input.end(), seed.begin(), seed.end());
  }
  for (size_t noise = random() % 4; noise > 0; --noise) {
    input.push_back(static_cast<uint8_t>(random()));
  }
  for (size_t changes = random() % 5; changes > 0 && !input.empty(); --changes) {
    const size_t at = random() % input.size();
    if (random() % 3 == 0) {
      input.erase(input.begin() + static_cast<ptrdiff_t>(at));
    } else {
      input[at] =
          static_cast<uint8_t>(random() % 2 == 0 ? random() : input[at] ^ (1 << random() % 8));
    }
  }
  return input;
}

void run(const std::vector<samples::Encoded>& seeds, void (*decoder)(const uint8_t*, size_t)) {
  const unsigned seed = ::testing::UnitTest::GetInstance()->random_seed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int i = 0; i < kInputs; ++i) {
    const samples::Encoded input = mutate(seeds, random);
    const samples::ExactCopy copy(input.data(), input.size());
    decoder(copy.begin(), input.size());
  }
}

TEST(RandomInput, Varint) {
  run({{0x00}, {0x80, 0x01}, {0xff, 0xff, 0x03}}, fuzz::varint);
}
TEST(RandomInput, Arrivals) {
  run(encodings(samples::arrivals()), fuzz::arrivals);
}
TEST(RandomInput, Output) {
  run(encodings(samples::outputs()), fuzz::output);
}
TEST(RandomInput, Records) {
  run(encodings(samples::records()), fuzz::records);
}

}  // namespace
}  // namespace ftrun
