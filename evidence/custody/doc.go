// Package custody writes the log that says who did what to the target and to the
// evidence: an append-only chain of records, one JSON line each, in which every line
// names the SHA-256 of the line before. It is also the journal from which a session
// resumes and a release undoes.
//
// A line is compact JSON with sorted keys and nothing but printable ASCII, ended by one
// LF. It is never written again, and never serialised again to be checked: prev is the
// digest of the bytes as they stand, without the LF.
//
// The chain by itself shows that nothing was changed, reordered or taken out between two
// records. That nothing was cut off its end is shown by what holds its head: bag-info.txt
// and the seal for the part inside the bundle, a store's lock for what comes after.
package custody
