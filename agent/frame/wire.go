package frame

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds of the protocol.
const (
	MaxPayload = 1 << 20  // bytes of one frame's payload, before compression
	Window     = 16 << 20 // bytes on the wire that a sender keeps unacknowledged
	maxFrames  = 4096     // frames that a sender keeps unacknowledged

	headerSize = 28 + sha256.Size
	version    = 1
)

// ErrProtocol is what a peer did wrong: a frame that is malformed, out of order,
// over a bound, or whose digest is another one.
var ErrProtocol = errors.New("protocol violated")

// Kind says what a frame is.
type Kind byte

// Kinds. Control, Data and End are numbered and replayed; the others live and die
// with their connection.
const (
	Handshake Kind = 1 + iota
	Ack            // Seq: everything up to it was consumed
	Beat
	Control // JSON
	Data    // bytes of a stream
	End     // JSON: the end record of a stream
)

func (k Kind) numbered() bool { return k == Control || k == Data || k == End }

// Codec names the compression of one frame.
type Codec byte

// Codecs of frames.
const (
	None Codec = iota
	S2
	Zstd
)

// Frame is one message, its payload as it stands on the wire.
//
// Layout, big endian: "iR", version, kind, codec, 3 zero bytes, stream (4), seq (8),
// length on the wire (4), length before compression (4), SHA-256 of these 28 bytes
// and the payload, payload.
type Frame struct {
	Kind   Kind
	Codec  Codec
	Stream uint32
	Seq    uint64
	Raw    uint32 // length before compression
	Wire   []byte
}

// AppendTo appends the frame as it goes over the wire.
func (f Frame) AppendTo(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 'i', 'R', version, byte(f.Kind), byte(f.Codec), 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, f.Stream)
	dst = binary.BigEndian.AppendUint64(dst, f.Seq)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(f.Wire)))
	dst = binary.BigEndian.AppendUint32(dst, f.Raw)
	h := sha256.New()
	h.Write(dst[at:])
	h.Write(f.Wire)
	dst = h.Sum(dst)
	return append(dst, f.Wire...)
}

// Read reads one frame and checks its bounds and digest. It allocates no more than
// MaxPayload, and nothing before the header is found sound. io.EOF means that the
// stream ended between two frames.
func Read(r io.Reader) (Frame, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{
		Kind:   Kind(h[3]),
		Codec:  Codec(h[4]),
		Stream: binary.BigEndian.Uint32(h[8:]),
		Seq:    binary.BigEndian.Uint64(h[12:]),
		Raw:    binary.BigEndian.Uint32(h[24:]),
	}
	n := binary.BigEndian.Uint32(h[20:])
	switch {
	case h[0] != 'i' || h[1] != 'R' || h[2] != version || h[5]|h[6]|h[7] != 0:
		return Frame{}, fmt.Errorf("read frame: no frame of this protocol: %w", ErrProtocol)
	case f.Kind < Handshake || f.Kind > End || f.Codec > Zstd:
		return Frame{}, fmt.Errorf("read frame: kind %d, codec %d: %w", f.Kind, f.Codec, ErrProtocol)
	case f.Raw > MaxPayload || n > f.Raw || f.Codec == None && n != f.Raw:
		return Frame{}, fmt.Errorf("read frame: %d bytes for %d: %w", n, f.Raw, ErrProtocol)
	case f.Kind.numbered() != (f.Seq != 0 && f.Kind != Ack):
		return Frame{}, fmt.Errorf("read frame: kind %d with number %d: %w", f.Kind, f.Seq, ErrProtocol)
	}
	f.Wire = make([]byte, n)
	if _, err := io.ReadFull(r, f.Wire); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	d := sha256.New()
	d.Write(h[:28])
	d.Write(f.Wire)
	if !bytes.Equal(d.Sum(nil), h[28:]) {
		return Frame{}, fmt.Errorf("read frame %d: digest of another frame: %w", f.Seq, ErrProtocol)
	}
	return f, nil
}
