// Package frame is the protocol between irkit and a worker beside the target, both
// sides of it. It runs over any byte stream that may break at any byte, and trusts
// neither the stream nor the peer:
//
//   - every frame carries its length and a SHA-256 over header and payload;
//   - frames with a sequence number are kept by their sender until the receiver has
//     consumed them, at most Window bytes of them, and replayed on the next stream;
//   - every artifact ends with a record of its length and digest, made at the source;
//     without it, or with other bytes, the reader ends with agent.ErrTruncated;
//   - who attaches proves with an Ed25519 key that it is who started the worker. The
//     worker only knows the public half, so nothing beside it gives the hand away.
package frame
