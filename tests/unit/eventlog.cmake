# SPDX-License-Identifier: Apache-2.0
# The formats that shim and supervisor share.
add_executable(eventlog_tests eventlog_varint_test.cc eventlog_ring_test.cc eventlog_arrivals_test.cc
                              eventlog_output_test.cc eventlog_records_test.cc eventlog_spec_test.cc
                              eventlog_random_input_test.cc eventlog_spin_test.cc eventlog_samples.cc)
target_link_libraries(eventlog_tests PRIVATE ftrun_flags ftrun_eventlog GTest::gtest_main)
target_compile_definitions(eventlog_tests
                           PRIVATE FTRUN_LOG_FORMAT_DOC="${CMAKE_SOURCE_DIR}/docs/log_format.md")
gtest_discover_tests(eventlog_tests PROPERTIES LABELS unit)
