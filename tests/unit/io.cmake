# SPDX-License-Identifier: Apache-2.0
# The I/O around the unit core: frames, links, edge, keeper, views, regions, whole supervisors.
add_library(io_stub_preload SHARED io_stub_preload.cc)
add_executable(ring_echo ring_echo.cc)
target_link_libraries(ring_echo PRIVATE ftrun_io)

add_executable(io_tests
  arbiter_test.cc
  edge_take_test.cc
  edge_test.cc
  keeper_test.cc
  link_test.cc
  region_test.cc)
target_include_directories(io_tests PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
target_link_libraries(io_tests PRIVATE ftrun_io GTest::gtest GTest::gtest_main)
gtest_discover_tests(io_tests)
