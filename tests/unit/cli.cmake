# SPDX-License-Identifier: Apache-2.0
# ftrun and ftctl: their parts, and the real programs over a fake supervisor.
if(TARGET ftrun_cli)
  add_executable(cli_fake_supervisor cli_fake_supervisor.cc)
  target_link_libraries(cli_fake_supervisor PRIVATE ftrun_io)

  add_executable(cli_tests
    cli_check_report_test.cc
    cli_event_follower_test.cc
    cli_instruction_scan_test.cc
    cli_options_test.cc
    cli_program_test.cc
    cli_status_test.cc
    cli_unit_dir_test.cc
    cli_unit_files_test.cc)
  target_link_libraries(cli_tests PRIVATE ftrun_cli GTest::gtest GTest::gtest_main)
  target_compile_definitions(cli_tests PRIVATE
    FTRUN="$<TARGET_FILE:ftrun>"
    FTCTL="$<TARGET_FILE:ftctl>"
    FAKE_SUPERVISOR="$<TARGET_FILE:cli_fake_supervisor>"
    STUB_PRELOAD="$<TARGET_FILE:process_stub_preload>"
    PROBE="$<TARGET_FILE:process_probe>"
    PROBE_STATIC="$<TARGET_FILE:process_probe_static>")
  add_dependencies(cli_tests ftrun ftctl cli_fake_supervisor process_probe process_probe_static
                   process_stub_preload)
  gtest_discover_tests(cli_tests)
endif()
