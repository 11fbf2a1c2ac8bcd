// Package seal signs: the digest list of a bundle, and the copy of the undo data that
// stands on the target. The signature is an SSHSIG (OpenSSH's PROTOCOL.sshsig), so that
// `ssh-keygen -Y verify` checks it on any machine, and the keys are OpenSSH's own.
//
// A signature is made for one namespace and is worth nothing in another.
package seal
