package main

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// RFC 3394 §4.6.
func TestAKeyIsWrappedAsTheStandardSays(t *testing.T) {
	kek, _ := hex.DecodeString("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	key, _ := hex.DecodeString("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
	expected, _ := hex.DecodeString("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21")
	wrapped, err := wrapKey(kek, key)
	if err != nil || !bytes.Equal(wrapped, expected) {
		t.Fatalf("wrapped: %x, %v", wrapped, err)
	}
	if unwrapped, err := unwrapKey(kek, wrapped); err != nil || !bytes.Equal(unwrapped, key) {
		t.Fatalf("unwrapped: %x, %v", unwrapped, err)
	}
	wrapped[39] ^= 1
	if _, err := unwrapKey(kek, wrapped); err == nil {
		t.Fatal("a changed wrapped key was unwrapped")
	}
}
