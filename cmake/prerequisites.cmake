# Finds what the build needs and, where something is missing, says so before anything starts: all of it at once, each
# with the way to get it. Sets KEYSTEAD_CARGO and, if BUILD_TESTING, KEYSTEAD_PYTHON.

set(missing "")

set(rust_advice "install Rust ${KEYSTEAD_RUST_VERSION} or newer with rustup (distributions are often older)")
find_program(KEYSTEAD_CARGO cargo HINTS "$ENV{HOME}/.cargo/bin" DOC "The cargo command")
if(NOT KEYSTEAD_CARGO)
  list(APPEND missing "cargo: ${rust_advice}")
else()
  execute_process(COMMAND "${KEYSTEAD_CARGO}" --version OUTPUT_VARIABLE version ERROR_VARIABLE error)
  if(NOT version MATCHES "cargo ([0-9.]+)")
    list(APPEND missing "a cargo that works (${KEYSTEAD_CARGO} says: ${error}): ${rust_advice}")
  elseif(CMAKE_MATCH_1 VERSION_LESS KEYSTEAD_RUST_VERSION)
    list(APPEND missing "a newer cargo than ${CMAKE_MATCH_1}: ${rust_advice}")
  endif()
endif()

if(NOT DEFINED ENV{CC})
  find_program(KEYSTEAD_CC NAMES cc gcc clang DOC "Only to see whether there is a C compiler")
  if(NOT KEYSTEAD_CC)
    list(APPEND missing "a C compiler: apt-get install gcc libc6-dev, or dnf install gcc")
  endif()
endif()

find_program(KEYSTEAD_MAKE make DOC "Only to see whether there is a make")
if(CMAKE_GENERATOR STREQUAL "Unix Makefiles" AND NOT KEYSTEAD_MAKE)
  list(APPEND missing "make: apt-get install make, or dnf install make")
endif()

if(BUILD_TESTING)
  # PyKMIP, the key server of the tests, runs on Python up to 3.13.
  set(probe "import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))")
  foreach(name IN ITEMS python3 python3.13 python3.12 python3.11 python3.10)
    find_program(candidate ${name} NO_CACHE)
    if(candidate AND NOT KEYSTEAD_PYTHON)
      execute_process(COMMAND "${candidate}" -c "${probe}" RESULT_VARIABLE unfit OUTPUT_QUIET ERROR_QUIET)
      if(unfit EQUAL 0)
        set(KEYSTEAD_PYTHON "${candidate}" CACHE FILEPATH "A Python 3.10 to 3.13 with venv")
      endif()
    endif()
    unset(candidate)
  endforeach()
  if(NOT KEYSTEAD_PYTHON)
    list(APPEND missing
      "Python 3.10 to 3.13 with venv, for the key servers of the tests and the demo: apt-get install python3-venv, or dnf \
install python3 (or leave tests out: -DBUILD_TESTING=OFF)")
  endif()
endif()

if(missing)
  unset(KEYSTEAD_CARGO CACHE) # Looked for again next time.
  list(JOIN missing "\n  * " missing)
  message(FATAL_ERROR "Nothing was built yet. What is missing:\n  * ${missing}\nInstall it and run the same command again.")
endif()
