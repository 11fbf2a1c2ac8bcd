// Package verify reads a bundle that may be anybody's work and says two things of it:
// whether it is as it was when it was sealed (integrity), and whether a signer that the
// verifier trusts sealed it (origin).
//
// It shares no code with what writes bundles, so that a fault there is not repeated here;
// what both follow is docs/bundle-format.md. It writes nothing, follows no link, opens
// nothing that it did not find as a plain file inside the bundle, and keeps its memory
// bounded whatever the bundle says of itself.
package verify
