# SPDX-License-Identifier: Apache-2.0
# The shim's table of system calls against the headers that the compiler finds.
find_path(FTRUN_UNISTD_DIRECTORY asm/unistd_64.h
          PATHS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} /usr/include/x86_64-linux-gnu)
add_executable(table_tests table_test.cc)
target_link_libraries(table_tests PRIVATE ftrun_flags GTest::gtest GTest::gtest_main)
target_compile_definitions(table_tests PRIVATE
  FTRUN_UNISTD_64="${FTRUN_UNISTD_DIRECTORY}/asm/unistd_64.h"
  FTRUN_NONDETERMINISM_DOC="${CMAKE_SOURCE_DIR}/docs/nondeterminism.md")
gtest_discover_tests(table_tests PROPERTIES LABELS unit)
