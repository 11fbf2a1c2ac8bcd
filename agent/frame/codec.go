package frame

import (
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// ParseCodec reads the name of a codec; an empty one is s2.
func ParseCodec(name string) (Codec, error) {
	switch name {
	case "", "s2":
		return S2, nil
	case "zstd":
		return Zstd, nil
	case "none":
		return None, nil
	}
	return 0, fmt.Errorf("wire compression %q: want s2, zstd or none", name)
}

// coder compresses and decompresses single frames. It holds no history between
// them, so that any frame can be replayed alone. Not safe for concurrent use.
type coder struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// pack makes a frame's payload; what does not shrink stays as it is.
func (c *coder) pack(f Frame, codec Codec, payload []byte) (Frame, error) {
	if len(payload) > MaxPayload {
		return f, fmt.Errorf("send frame: %d bytes: %w", len(payload), ErrProtocol)
	}
	f.Raw, f.Codec, f.Wire = uint32(len(payload)), None, payload
	var small []byte
	switch codec {
	case S2:
		small = s2.Encode(nil, payload)
	case Zstd:
		if c.enc == nil {
			enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
				zstd.WithWindowSize(MaxPayload), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
			if err != nil {
				return f, fmt.Errorf("start zstd: %w", err)
			}
			c.enc = enc
		}
		small = c.enc.EncodeAll(payload, nil)
	}
	if small != nil && len(small) < len(payload) {
		f.Codec, f.Wire = codec, small
	}
	return f, nil
}

// unpack gives the payload back; it never makes more than f.Raw bytes, which Read
// has bounded.
func (c *coder) unpack(f Frame) ([]byte, error) {
	switch f.Codec {
	case None:
		return f.Wire, nil
	case S2:
		n, err := s2.DecodedLen(f.Wire)
		if err != nil || n != int(f.Raw) {
			return nil, fmt.Errorf("unpack frame %d: s2 of %d bytes, announced %d: %w", f.Seq, n, f.Raw, ErrProtocol)
		}
		out, err := s2.Decode(make([]byte, n), f.Wire)
		if err != nil {
			return nil, fmt.Errorf("unpack frame %d: %w: %w", f.Seq, ErrProtocol, err)
		}
		return out, nil
	case Zstd:
		if c.dec == nil {
			dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxPayload),
				zstd.WithDecoderMaxWindow(MaxPayload), zstd.WithDecoderLowmem(true))
			if err != nil {
				return nil, fmt.Errorf("start zstd: %w", err)
			}
			c.dec = dec
		}
		out, err := c.dec.DecodeAll(f.Wire, make([]byte, 0, f.Raw))
		if err != nil {
			// Its words alone: an io.EOF that a sender brings about must not pass for an end.
			return nil, fmt.Errorf("unpack frame %d: zstd: %s: %w", f.Seq, err.Error(), ErrProtocol)
		}
		if len(out) != int(f.Raw) {
			return nil, fmt.Errorf("unpack frame %d: zstd of %d bytes, announced %d: %w", f.Seq, len(out), f.Raw, ErrProtocol)
		}
		return out, nil
	}
	return nil, fmt.Errorf("unpack frame %d: codec %d: %w", f.Seq, f.Codec, ErrProtocol)
}

func (c *coder) close() {
	if c.enc != nil {
		_ = c.enc.Close()
	}
	if c.dec != nil {
		c.dec.Close()
	}
}
