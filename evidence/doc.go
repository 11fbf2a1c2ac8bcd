// Package evidence is the ground that irkit stands on: plain values, two small
// interfaces, and the names inside a bundle. It knows nothing of Kubernetes,
// so that a bundle is read and verified on a laptop with no cluster.
//
// # Target
//
// The pod under investigation, pinned by the UIDs of its cluster and of itself.
// A pod of the same name with another UID is another target.
//
// # Change, forecast, verdict
//
// A change is one write to the cluster with what stood there before and what is
// to stand there after; it is enough to undo the write. A forecast says what
// will follow from the changes before the first of them is made. A verdict says
// what was measured after, and is never better than its evidence.
//
// # Artifact and entry
//
// An artifact is one captured thing, a stream of bytes on its way in. An entry is
// what the bundle says of it: where its bytes are, their digest, where they came
// from, and whether they are whole. What could not be had is an entry too.
//
// # Bundle, seal, custody
//
// A bundle is a BagIt 1.0 bag (RFC 8493). The seal is the digest list of
// everything in it, signed. The custody log is a chain of records that says who did
// what to the target and to the evidence, and when; it is also the journal from
// which a session resumes and a release undoes.
package evidence
