# SPDX-License-Identifier: Apache-2.0
# The I/O around the unit core: frames, links, edge, keeper, views, regions, whole supervisors.
add_library(io_stub_preload SHARED io_stub_preload.cc)
# An application: never sanitized, as the runtimes of sanitizers refuse to be preloaded over.
add_executable(ring_echo ring_echo.cc ${CMAKE_SOURCE_DIR}/supervisor/base/memory_file.cc
                         ${CMAKE_SOURCE_DIR}/supervisor/rings/region.cc)
target_include_directories(ring_echo PRIVATE ${CMAKE_SOURCE_DIR})
target_compile_options(ring_echo PRIVATE -Wall -Wextra -Werror -Wno-missing-field-initializers)

add_executable(io_tests
  arbiter_test.cc
  call_watch_test.cc
  control_test.cc
  edge_take_test.cc
  edge_test.cc
  edge_urgent_test.cc
  event_log_test.cc
  founding_test.cc
  keeper_test.cc
  last_words_test.cc
  link_test.cc
  liveness_test.cc
  placement_test.cc
  region_early_test.cc
  region_test.cc
  unit_memory_test.cc)
target_include_directories(io_tests PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
target_link_libraries(io_tests PRIVATE ftrun_io GTest::gtest GTest::gtest_main)
gtest_discover_tests(io_tests)

# Whole supervisors; apart, since they take seconds.
add_executable(supervisor_tests supervisor_test.cc supervisor_hang_test.cc)
target_include_directories(supervisor_tests PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit)
target_link_libraries(supervisor_tests PRIVATE ftrun_io GTest::gtest GTest::gtest_main)
target_compile_definitions(supervisor_tests PRIVATE
  SUPERVISOR="$<TARGET_FILE:ftrun-supervisor>"
  RING_ECHO="$<TARGET_FILE:ring_echo>"
  STUB_PRELOAD="$<TARGET_FILE:io_stub_preload>")
add_dependencies(supervisor_tests ftrun-supervisor ring_echo io_stub_preload)
gtest_discover_tests(supervisor_tests)
gtest_discover_tests(supervisor_tests TEST_SUFFIX .tcp
                     PROPERTIES ENVIRONMENT FTRUN_TEST_TRANSPORT=tcp)

# Whole supervisors around an application that attacks them.
add_executable(hostile_app hostile_app.cc ${CMAKE_SOURCE_DIR}/supervisor/base/memory_file.cc
                           ${CMAKE_SOURCE_DIR}/supervisor/rings/region.cc)
target_include_directories(hostile_app PRIVATE ${CMAKE_SOURCE_DIR})
target_compile_options(hostile_app PRIVATE -Wall -Wextra -Werror -Wno-missing-field-initializers)
target_link_libraries(hostile_app PRIVATE pthread)
add_executable(hostile_tests hostile_test.cc)
target_link_libraries(hostile_tests PRIVATE ftrun_io GTest::gtest)
target_compile_definitions(hostile_tests PRIVATE
  SUPERVISOR="$<TARGET_FILE:ftrun-supervisor>"
  RING_ECHO="$<TARGET_FILE:ring_echo>"
  HOSTILE_APP="$<TARGET_FILE:hostile_app>"
  STUB_PRELOAD="$<TARGET_FILE:io_stub_preload>")
add_dependencies(hostile_tests ftrun-supervisor ring_echo hostile_app io_stub_preload)
gtest_discover_tests(hostile_tests)
gtest_discover_tests(hostile_tests TEST_SUFFIX .tcp PROPERTIES ENVIRONMENT FTRUN_TEST_TRANSPORT=tcp)
