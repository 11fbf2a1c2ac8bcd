// Package inside reads what can be seen from beside the target: processes, sockets,
// descriptors, files. It runs in the worker, on Linux, without Kubernetes, and in
// less than 64 MiB whatever the target holds; it writes to no disk.
//
// Everything read here was shaped by the target and is hostile: names hold any byte,
// files change, grow and are swapped while they are read, links point out of the
// target's root, and trees have no end. What is read is streamed on as it is; what is
// wrong with it is said in the same line or in the trailer.
//
// Values of environment variables and the content of secret, configmap and projected
// volumes never leave this package unless a request asks for them: their names, lengths
// and keyed digests (HMAC-SHA256) do.
package inside
