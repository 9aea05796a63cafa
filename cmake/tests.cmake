# The tests, in every language, the checks of form, and the demo. Each test is one line of ctest's output.
enable_testing()

# Python with the key servers of the tests: PyKMIP, from PyPI.
set(VENV "${PROJECT_BINARY_DIR}/venv")
set(VENV_PYTHON "${VENV}/bin/python")
set(requirements "${PROJECT_SOURCE_DIR}/tests/requirements.txt")
add_custom_command(
  OUTPUT "${VENV}/stamp"
  COMMAND "${KEYSTEAD_PYTHON}" -m venv --clear "${VENV}"
  COMMAND "${VENV_PYTHON}" -m pip install --quiet --disable-pip-version-check -r "${requirements}"
  COMMAND "${CMAKE_COMMAND}" -E touch "${VENV}/stamp"
  DEPENDS "${requirements}"
  COMMENT "Making build/venv: installing the key servers of the tests (PyKMIP) from PyPI"
  USES_TERMINAL VERBATIM)
add_custom_target(venv DEPENDS "${VENV}/stamp")

# The second kind of key server, where there is a Go that compiles it.
set(GO_SERVER "${PROJECT_BINARY_DIR}/kmip-server")
set(go_folder "${PROJECT_SOURCE_DIR}/tests/servers/go")
find_program(KEYSTEAD_GO go HINTS /usr/local/go/bin DOC "The go command")
if(KEYSTEAD_GO)
  file(STRINGS "${go_folder}/go.mod" go_needed REGEX "^go ")
  execute_process(COMMAND "${CMAKE_COMMAND}" -E env GOTOOLCHAIN=local "${KEYSTEAD_GO}" env GOVERSION OUTPUT_VARIABLE go_version)
  string(REGEX REPLACE "^go|[ \n].*$" "" go_version "${go_version}")
  string(REGEX REPLACE "^go " "" go_needed "${go_needed}")
endif()
if(KEYSTEAD_GO AND go_version VERSION_GREATER_EQUAL go_needed)
  set(go "${CMAKE_COMMAND}" -E env GOTOOLCHAIN=local "GOFLAGS=-mod=readonly -trimpath -buildvcs=false" "${KEYSTEAD_GO}")
  file(GLOB sources CONFIGURE_DEPENDS "${go_folder}/*.go")
  add_custom_command(
    OUTPUT "${GO_SERVER}"
    COMMAND ${go} build -o "${GO_SERVER}" .
    DEPENDS ${sources} "${go_folder}/go.mod" "${go_folder}/go.sum"
    WORKING_DIRECTORY "${go_folder}"
    COMMENT "Compiling the second kind of key server with Go"
    USES_TERMINAL VERBATIM)
  add_custom_target(go_server DEPENDS "${GO_SERVER}")
else()
  message(STATUS "No Go of the version that tests/servers/go/go.mod names: what needs its key server is skipped")
  add_custom_target(go_server)
endif()

# The programs of others that tests need: collectors, normalizers, logrotate, a browser and strace, from Debian's packages
# into the build. What can be neither fetched nor found on the PATH is skipped: the tests program-NAME below say so.
set(LOG_PROGRAMS "${PROJECT_BINARY_DIR}/log-programs")
set(fetch_programs "${KEYSTEAD_PYTHON}" "${PROJECT_SOURCE_DIR}/tests/log_programs/fetch.py" "${LOG_PROGRAMS}")
find_program(KEYSTEAD_APT_GET apt-get DOC "Fetches the programs of others that tests need")
if(NOT KEYSTEAD_APT_GET)
  message(STATUS "No apt-get: tests with rsyslogd, syslog-ng, lognormalizer, logrotate, Chromium and strace use those that are installed")
endif()
add_custom_command(
  OUTPUT "${LOG_PROGRAMS}/stamp"
  COMMAND ${fetch_programs}
  DEPENDS "${PROJECT_SOURCE_DIR}/tests/log_programs/fetch.py"
  COMMENT "Fetching what tests need from Debian's packages: rsyslog, syslog-ng, lognormalizer, logrotate, Chromium, strace"
  USES_TERMINAL VERBATIM)
add_custom_target(log_programs DEPENDS "${LOG_PROGRAMS}/stamp")

# Where tests make their folders. Names of sockets have at most 107 bytes, and those of key servers take half of them.
set(scratch "${PROJECT_BINARY_DIR}/tmp")
string(LENGTH "${scratch}" scratch_length)
if(scratch_length GREATER 48)
  set(scratch /tmp)
  message(STATUS "The name of the build's folder is too long for sockets: tests make their folders in /tmp, and remove them")
endif()
file(MAKE_DIRECTORY "${scratch}")

# What any test or example may want to know.
set(test_environment
    "TMPDIR=${scratch}"
    "KEYSTEAD_BUILD=${PROJECT_BINARY_DIR}" "KEYSTEAD_LIBRARY=${KEYSTEAD_LIBRARY}" "KEYSTEAD_COMMAND=${KEYSTEAD_COMMAND}"
    "KEYSTEAD_PYTHON=${VENV_PYTHON}" "KEYSTEAD_GO_SERVER=${GO_SERVER}" "KEYSTEAD_LOG_PROGRAMS=${LOG_PROGRAMS}/bin"
    "KEYSTEAD_REQUIRED_PROGRAMS=${LOG_PROGRAMS}/fetched"
    "KEYSTEAD_CC=${CMAKE_C_COMPILER}" "KEYSTEAD_CMAKE=${CMAKE_COMMAND}"
    "PYTHONPATH=${PROJECT_SOURCE_DIR}/bindings/python/src:${PROJECT_SOURCE_DIR}/tests/servers" "PYTHONDONTWRITEBYTECODE=1")
set(key_servers "${VENV_PYTHON}" "${PROJECT_SOURCE_DIR}/tests/servers/keyservers.py")

# keystead_test(NAME SECONDS COMMAND...): a test that fails after so many seconds.
function(keystead_test name seconds)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  set_tests_properties(${name} PROPERTIES TIMEOUT ${seconds} ENVIRONMENT "${test_environment}")
endfunction()

# keystead_python_tests(NAME SECONDS FOLDER): the unittest modules of a folder.
function(keystead_python_tests name seconds folder)
  keystead_test(${name} ${seconds} "${VENV_PYTHON}" -W ignore -m unittest discover -s "${folder}" -t "${folder}")
endfunction()

# keystead_go_test(NAME SECONDS COMMAND...): a test that is skipped where Go is missing.
function(keystead_go_test name seconds)
  if(go)
    keystead_test(${name} ${seconds} ${ARGN})
  else()
    keystead_test(${name} ${seconds} "${CMAKE_COMMAND}" -E false)
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 1)
  endif()
endfunction()

# Form. `check` is the formatters and linters in one command, `format` repairs what they can.
set(rust_lint "${KEYSTEAD_CARGO}" clippy --release --all-targets ${KEYSTEAD_CARGO_ARGS} -- -D warnings)
# What Rust programs are offered: the crate without its internals.
set(rust_lint_offered
    "${KEYSTEAD_CARGO}" clippy --release --lib --locked --target-dir "${PROJECT_BINARY_DIR}/cargo" -- -D warnings)
if(go)
  get_filename_component(gofmt "${KEYSTEAD_GO}" REALPATH)
  get_filename_component(gofmt "${gofmt}" DIRECTORY)
  # gofmt prints what it would change, and says nothing by its exit code.
  set(go_bench "${PROJECT_SOURCE_DIR}/benches/clients/kmip-go")
  set(go_format_check
      COMMAND sh -c "test -z \"$('${gofmt}/gofmt' -d '${go_folder}' '${go_bench}' | tee /dev/stderr)\"")
  set(go_vet COMMAND ${go} -C "${go_folder}" vet ./... COMMAND ${go} -C "${go_bench}" vet ./...)
  set(go_format COMMAND "${gofmt}/gofmt" -w "${go_folder}" "${go_bench}")
endif()
add_custom_target(
  check
  COMMAND "${KEYSTEAD_CARGO}" fmt --check
  COMMAND "${VENV}/bin/ruff" format --check .
  COMMAND "${VENV}/bin/ruff" check .
  COMMAND "${VENV}/bin/mypy" --cache-dir "${PROJECT_BINARY_DIR}/mypy"
  ${go_format_check}
  ${go_vet}
  COMMAND ${rust_lint}
  COMMAND ${rust_lint_offered}
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  COMMENT "Checking form: rustfmt, ruff, mypy --strict, gofmt, go vet, clippy (cmake --build build --target format repairs the formats)"
  USES_TERMINAL VERBATIM)
add_dependencies(check venv)
add_custom_target(
  format
  COMMAND "${KEYSTEAD_CARGO}" fmt
  COMMAND "${VENV}/bin/ruff" check --fix-only .
  COMMAND "${VENV}/bin/ruff" format .
  ${go_format}
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  COMMENT "Repairing form: rustfmt, ruff, gofmt"
  USES_TERMINAL VERBATIM)
add_dependencies(format venv)
keystead_test(format 600 "${CMAKE_COMMAND}" --build "${PROJECT_BINARY_DIR}" --target check)

# Rust. Compiled with the build, so that a test's time is its own.
set(rust_test "${KEYSTEAD_CARGO}" test --release --no-fail-fast ${KEYSTEAD_CARGO_ARGS})
add_custom_target(
  rust_tests
  COMMAND ${rust_test} --no-run
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  COMMENT "Compiling the Rust tests"
  USES_TERMINAL VERBATIM)
add_dependencies(rust_tests cargo)
keystead_test(layers 60 ${rust_test} --test layers)
keystead_test(header 60 ${rust_test} --test header)
keystead_test(rust 1200 ${rust_test})
# Each of these keeps all processors busy, and some tests of the second hold calls to their deadlines.
set_tests_properties(format rust PROPERTIES RUN_SERIAL TRUE)

# Which of the programs of others the tests above met: program-rsyslogd and so on.
foreach(program IN ITEMS rsyslogd syslog-ng lognormalizer logrotate chromium strace)
  keystead_test(program-${program} 60 ${fetch_programs} ${program})
  set_tests_properties(program-${program} PROPERTIES SKIP_RETURN_CODE 77)
endforeach()

# Whether the tests above had a small disk that can be full, or one that may not be written.
keystead_test(
  small-disk 60 sh -c
  "unshare -m mount -t tmpfs tmpfs /mnt || unshare -Urm mount -t tmpfs tmpfs /mnt || (echo 'skipped: neither root nor namespaces of a user, so nothing can be mounted' && exit 77)")
set_tests_properties(small-disk PROPERTIES SKIP_RETURN_CODE 77)

# What talks to key servers, against either kind and in every protocol version: servers-go-1.2 and so on.
set(server_tests ${rust_test} --test data_spaces --test kmip_servers --test lifecycle --test named_keys)
# Where many threads ask PyKMIP, which takes milliseconds of CPU for an answer, and no version makes a difference, once is
# enough: in `rust`.
set(light_server_tests ${server_tests} -- --skip rotations_at_the_same_time --skip readers_and_writers --skip sixteen_creators)
foreach(version IN ITEMS 1.0 1.1 1.2 1.3 1.4)
  keystead_go_test(servers-go-${version} 240 ${server_tests})
  keystead_test(servers-pykmip-${version} 240 ${light_server_tests})
  foreach(kind IN ITEMS go pykmip)
    set_property(
      TEST servers-${kind}-${version} APPEND
      PROPERTY ENVIRONMENT "KEYSTEAD_KEY_SERVERS=${kind}" "KEYSTEAD_KMIP_VERSION=${version}")
  endforeach()
endforeach()

# The library as it is shipped, and as its users meet it.
keystead_python_tests(symbols 60 tests/abi)
keystead_python_tests(consumers 120 tests/consumers)

# The key servers and their harness itself.
keystead_python_tests(servers 120 tests/servers)
keystead_go_test(go_server 240 ${go} -C "${go_folder}" test ./...)

# C: each file of tests/c is a program, run with key servers; each of examples/c is compiled.
function(keystead_c_program target source folder)
  add_executable(${target} ${source})
  target_link_libraries(${target} PRIVATE keystead)
  target_compile_options(${target} PRIVATE -std=c11 -Wall -Wextra -Wpedantic -Werror)
  target_compile_definitions(${target} PRIVATE _POSIX_C_SOURCE=200809L)
  get_filename_component(name ${source} NAME_WE)
  set_target_properties(
    ${target} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/${folder}")
endfunction()
find_package(Threads)
file(GLOB sources CONFIGURE_DEPENDS tests/c/*.c)
foreach(source IN LISTS sources)
  get_filename_component(name ${source} NAME_WE)
  keystead_c_program(c_${name} ${source} tests/c)
  target_link_libraries(c_${name} PRIVATE Threads::Threads)
  keystead_test(c_${name} 120 ${key_servers} --pre-active c-waiting/1 run -- $<TARGET_FILE:c_${name}>)
endforeach()
keystead_c_program(vectors tests/vectors/vectors.c tests/vectors)
keystead_python_tests(c_vectors 120 tests/vectors)
set(c_examples "")
file(GLOB sources CONFIGURE_DEPENDS examples/c/*.c)
foreach(source IN LISTS sources)
  get_filename_component(name ${source} NAME_WE)
  keystead_c_program(example_c_${name} ${source} examples/c)
  list(APPEND c_examples example_c_${name})
endforeach()

# Python.
if(EXISTS "${PROJECT_SOURCE_DIR}/bindings/python/tests")
  keystead_python_tests(python 600 bindings/python/tests)
  # The longest of those that run beside others begins first.
  set_tests_properties(python PROPERTIES COST 1000)
  # A PyKMIP server that serves thousands of short connections now and then ends in a fault of its Python, and with it all tests
  # that share it. So all modules run against the other kind where there is one, and what makes clients against both.
  if(go)
    set_property(TEST python APPEND PROPERTY ENVIRONMENT "KEYSTEAD_KEY_SERVERS=go")
    set(modules bindings/python/tests)
    keystead_test(python-pykmip 300 "${VENV_PYTHON}" -W ignore -m unittest discover -s ${modules} -t ${modules} -p test_client.py)
  endif()
  # Whether they met a PostgreSQL.
  keystead_test(program-postgresql 60 "${VENV_PYTHON}" bindings/python/tests/postgresql.py)
  set_tests_properties(program-postgresql PROPERTIES SKIP_RETURN_CODE 77)
endif()

# Campaigns: tests above at full length, one after the other. They take an hour, and are not in the list of a usual run.
# keystead_campaign(NAME ENVIRONMENT PROOFS COMMAND...): PROOFS are what it has to print besides.
function(keystead_campaign name environment proofs)
  set(campaign "${VENV_PYTHON}" "${PROJECT_SOURCE_DIR}/tests/campaign.py" ${proofs} --)
  add_test(NAME campaign-${name} CONFIGURATIONS campaign COMMAND ${campaign} ${ARGN} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  set_tests_properties(
    campaign-${name} PROPERTIES TIMEOUT 7200 RUN_SERIAL TRUE ENVIRONMENT "${test_environment};${environment}")
endfunction()
set(shown -- --nocapture)
keystead_campaign(
  nonces "KEYSTEAD_NONCES=100000000;KEYSTEAD_NONCE_FORKS=1000" "(^| )100000000 messages of .* 1000 forks" ${rust_test} --test nonces ${shown})
keystead_campaign(
  storm "KEYSTEAD_STORM_SECONDS=30" "Go: .* 16 threads. 30 rotations of 2 keys. 3 restarts" ${rust_test} --test storm ${shown})
keystead_campaign(
  weather "KEYSTEAD_WEATHER_SECONDS=120" "Go, 120s: [0-9]+ calls;PyKmip, 120s: [0-9]+ calls" ${rust_test} --test weather ${shown})
keystead_campaign(folder "KEYSTEAD_KILLS=100" "(^| )100 kills" ${rust_test} --test reencrypt ${shown})
# Without PostgreSQL its part is skipped, and so the proof is missing.
foreach(kind IN ITEMS pykmip go)
  keystead_campaign(
    database-${kind} "KEYSTEAD_KILLS=100;KEYSTEAD_KEY_SERVERS=${kind}" "sqlite: 100 kills;postgresql: 100 kills" #
    "${VENV_PYTHON}" -W ignore -m unittest discover -s bindings/python/tests -p test_reencrypt.py)
endforeach()
keystead_campaign(
  log "KEYSTEAD_KILLS=1000;KEYSTEAD_TAMPERINGS=100000" "(^| )1000 kills;(^| )100000 tamperings" #
  ${rust_test} --test log_killed --test log_tampering ${shown})
keystead_campaign(replies "KEYSTEAD_MUTATIONS=1000000" "(^| )1000000 altered replies" ${rust_test} --test kmip_payloads ${shown})
keystead_campaign(pipe "KEYSTEAD_PIPE_MIB=4096" "(^| )4096 MiB" ${rust_test} --test tool -- --nocapture a_pipe_of_any_length)
add_custom_target(
  campaign
  COMMAND "${CMAKE_CTEST_COMMAND}" --build-config campaign --tests-regex ^campaign- --output-on-failure
  WORKING_DIRECTORY "${PROJECT_BINARY_DIR}"
  COMMENT "Running the long tests at full length"
  USES_TERMINAL VERBATIM)
add_dependencies(campaign keystead venv go_server rust_tests)

# The quick start. A target and not a test, because ctest would hide its page.
set(quick_start "${PROJECT_SOURCE_DIR}/examples/quickstart/run.py")
if(EXISTS "${quick_start}")
  set(demo_command "${CMAKE_COMMAND}" -E env ${test_environment} "${VENV_PYTHON}" "${quick_start}")
  keystead_test(quickstart 120 "${VENV_PYTHON}" "${quick_start}")
else()
  set(demo_command "${CMAKE_COMMAND}" -E echo "The quick start has not arrived yet.")
endif()
add_custom_target(demo COMMAND ${demo_command} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}" USES_TERMINAL VERBATIM)
add_dependencies(demo keystead venv ${c_examples})
