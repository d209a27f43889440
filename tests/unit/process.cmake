# SPDX-License-Identifier: Apache-2.0
# Launching one application, its checks, its state directories.
add_library(process_stub_preload SHARED process_stub_preload.cc)
add_executable(process_probe process_probe.cc)
target_include_directories(process_probe PRIVATE ${CMAKE_SOURCE_DIR})
add_executable(process_probe_static process_probe_static.cc)
target_link_options(process_probe_static PRIVATE -static)

add_executable(process_tests
  process_call_stacks_test.cc
  process_environment_test.cc
  process_init_message_test.cc
  process_launch_test.cc
  process_program_test.cc
  process_state_test.cc)
target_link_libraries(process_tests PRIVATE ftrun_call_stacks ftrun_process
                      GTest::gtest GTest::gtest_main)
target_compile_definitions(process_tests PRIVATE
  PROBE="$<TARGET_FILE:process_probe>"
  PROBE_STATIC="$<TARGET_FILE:process_probe_static>"
  STUB_PRELOAD="$<TARGET_FILE:process_stub_preload>")
add_dependencies(process_tests process_probe process_probe_static process_stub_preload)
gtest_discover_tests(process_tests)
