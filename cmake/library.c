/* Nothing: libkeystead.so is the Rust library, linked by the C compiler so that it exports exactly our symbols. */
typedef int keystead_is_written_in_rust;
