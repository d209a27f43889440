// SPDX-License-Identifier: Apache-2.0
// Starts only where its library is.
int there();

int main() {
  return there();
}
