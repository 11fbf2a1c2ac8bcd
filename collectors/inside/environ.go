//go:build linux

package inside

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

// Variable is one string of an environment. What stands before the first "=" is
// its name, and shown; the rest is its value, and not. A string without "=", or with
// a name longer than any real one, is a value as a whole: it may be the rest of
// something that was overwritten.
type Variable struct {
	Name       string `json:"name"`
	NameB64    string `json:"name_b64,omitempty"` // the exact bytes, where not UTF-8
	NoName     bool   `json:"no_name,omitempty"`
	Length     int64  `json:"length"`
	HMACSHA256 string `json:"hmac_sha256,omitempty"`
	Value      string `json:"value,omitempty"` // only when asked for
	ValueB64   string `json:"value_b64,omitempty"`
	ValueCut   bool   `json:"value_cut,omitempty"`
}

const (
	maxName  = 4 << 10
	maxValue = 2 << 20 // of one raw value; the kernel takes 128 KiB for one string
)

// environ reads the strings of an environment block, which NULs end, in constant
// memory, and passes each to fn. Empty ones, as programs leave that overwrite their
// block, are passed over. It gives the number of bytes read.
func environ(r io.Reader, key []byte, values bool, fn func(Variable) error) (int64, error) {
	s := envScan{values: values, fn: fn}
	if len(key) > 0 {
		s.mac = hmac.New(sha256.New, key)
	}
	buf := make([]byte, 32<<10)
	var n int64
	for {
		k, err := r.Read(buf)
		n += int64(k)
		for b := buf[:k]; len(b) > 0; {
			end := bytes.IndexByte(b, 0)
			if end < 0 {
				s.write(b)
				break
			}
			s.write(b[:end])
			if err := s.end(); err != nil {
				return n, err
			}
			b = b[end+1:]
		}
		if errors.Is(err, io.EOF) {
			return n, s.end()
		}
		if err != nil {
			return n, errors.Join(err, s.end())
		}
	}
}

// envScan is the string that is being read.
type envScan struct {
	mac    hash.Hash
	values bool
	fn     func(Variable) error

	name    []byte // until the first "="
	inValue bool
	noName  bool
	length  int64
	value   []byte
	cut     bool
}

func (s *envScan) write(b []byte) {
	if !s.inValue {
		if at := bytes.IndexByte(b, '='); at >= 0 && len(s.name)+at <= maxName {
			s.name, s.inValue = append(s.name, b[:at]...), true
			b = b[at+1:]
		} else if len(s.name)+len(b) <= maxName {
			s.name = append(s.name, b...)
			return
		} else {
			s.nameless()
		}
	}
	s.feed(b)
}

// nameless turns what was read of a name into the start of a value.
func (s *envScan) nameless() {
	s.inValue, s.noName = true, true
	name := s.name
	s.name = nil
	s.feed(name)
}

func (s *envScan) feed(b []byte) {
	s.length += int64(len(b))
	if s.mac != nil {
		s.mac.Write(b)
	}
	if s.values {
		room := min(len(b), maxValue-len(s.value))
		s.value = append(s.value, b[:room]...)
		s.cut = s.cut || room < len(b)
	}
}

func (s *envScan) end() error {
	if !s.inValue && len(s.name) == 0 {
		return nil
	}
	if !s.inValue {
		s.nameless()
	}
	v := Variable{NoName: s.noName, Length: s.length, ValueCut: s.cut}
	v.Name, v.NameB64 = text(string(s.name))
	if s.mac != nil {
		v.HMACSHA256 = hex.EncodeToString(s.mac.Sum(nil))
		s.mac.Reset()
	}
	if s.values {
		v.Value, v.ValueB64 = text(string(s.value))
	}
	s.name, s.value = s.name[:0], s.value[:0]
	s.inValue, s.noName, s.length, s.cut = false, false, 0, false
	return s.fn(v)
}
