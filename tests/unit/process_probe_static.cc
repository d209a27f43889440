// SPDX-License-Identifier: Apache-2.0
// A program that the checks must refuse: it has no loader that could preload anything.
int main() {
  return 0;
}
