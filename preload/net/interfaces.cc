// SPDX-License-Identifier: Apache-2.0
// Facts about interfaces by ioctl (netdevice(7)): see query.h.
// Runs in the application with the token held; no libc, no system calls of its own.
#include <linux/if.h>
#include <linux/sockios.h>

#include "preload/guarded.h"
#include "preload/net/query.h"

namespace ftrun::shim {
namespace {

constinit uint8_t* g_list = nullptr;  // where SIOCGIFCONF's list is collected

}  // namespace

long interface_ioctl(int family, unsigned long request, void* argument) {
  switch (request) {
    case SIOCGIFNAME:
    case SIOCGIFFLAGS:
    case SIOCGIFADDR:
    case SIOCGIFDSTADDR:
    case SIOCGIFBRDADDR:
    case SIOCGIFNETMASK:
    case SIOCGIFMETRIC:
    case SIOCGIFMTU:
    case SIOCGIFHWADDR:
    case SIOCGIFINDEX:
    case SIOCGIFTXQLEN:
    case SIOCGIFMAP: {
      // Only the primary's kernel is asked: names and indices are its host's, from earlier answers.
      struct ifreq structure = {};
      if (!get_in(&structure, argument)) {
        return -EFAULT;
      }
      const long result = ask_interface(family, request, &structure, sizeof(structure));
      return result == 0 && !put_out(argument, structure) ? -EFAULT : result;
    }
    case SIOCGIFCONF: {
      struct ifconf question = {};
      if (!get_in(&question, argument)) {
        return -EFAULT;
      }
      if (g_list == nullptr) {
        g_list = static_cast<uint8_t*>(arena_alloc(kInterfaceListBytesMax, 16));
      }
      // ORDER: the whole list comes from the log, then what fits is copied: so the record does not
      // depend on the application's buffer, which may be anything.
      const long all = ask_interface_list(family, g_list, kInterfaceListBytesMax);
      if (all < 0) {
        return all;
      }
      // Whole entries, as many as fit; without a buffer the kernel tells how many bytes there are.
      const long room = question.ifc_len < all
                            ? question.ifc_len - question.ifc_len % static_cast<long>(sizeof(ifreq))
                            : all;
      if (question.ifc_buf != nullptr &&
          (question.ifc_len < 0 || copy_out(question.ifc_buf, g_list, static_cast<size_t>(room)) !=
                                       static_cast<size_t>(room))) {
        return question.ifc_len < 0 ? -EINVAL : -EFAULT;
      }
      question.ifc_len = static_cast<int>(question.ifc_buf != nullptr ? room : all);
      return put_out(argument, question) ? 0 : -EFAULT;
    }
    default:
      return -ENOTTY;
  }
}

}  // namespace ftrun::shim
