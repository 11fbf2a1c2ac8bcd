package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Digest is a SHA-256. In files and JSON it is 64 lower-case hex digits; for
// people String puts the algorithm in front.
type Digest [sha256.Size]byte

// String is "sha256:" and the hex digits.
func (d Digest) String() string { return "sha256:" + d.Hex() }

// Hex is the 64 lower-case hex digits alone, as sha256sum prints them.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// IsZero reports a digest that was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText writes the hex digits.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.Hex()), nil }

// UnmarshalText reads what MarshalText wrote; anything else is an error.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("digest %q: want 64 hex digits", b)
	}
	_, err := hex.Decode(d[:], b)
	return err
}
