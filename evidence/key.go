package evidence

import (
	"errors"
	"fmt"
	"strings"
)

// ErrKey says that a string cannot be the key of a store.
var ErrKey = errors.New("not a key")

// CheckKey reports a key that a Store refuses. A key is a relative path with
// slashes: printable ASCII without backslash, at most 1024 bytes (Amazon S3 User Guide, object
// key names), each element at most 255 bytes, none empty, "." or "..". What passes
// means the same file in a folder and in a bucket.
func CheckKey(key string) error {
	if key == "" || len(key) > 1024 {
		return fmt.Errorf("key of %d bytes: %w", len(key), ErrKey)
	}
	for i := range len(key) {
		if c := key[i]; c < 0x20 || c > 0x7e || c == '\\' {
			return fmt.Errorf("key %q: byte %#02x: %w", key, c, ErrKey)
		}
	}
	for e := range strings.SplitSeq(key, "/") {
		if e == "" || e == "." || e == ".." || len(e) > 255 {
			return fmt.Errorf("key %q: element %q: %w", key, e, ErrKey)
		}
	}
	return nil
}
