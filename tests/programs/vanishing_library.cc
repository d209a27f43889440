// SPDX-License-Identifier: Apache-2.0
// What vanishing.cc needs.
int there() {
  return 0;
}
