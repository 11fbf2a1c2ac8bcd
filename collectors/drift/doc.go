// Package drift tells how a container's file system differs from its image: what was added,
// what was changed and what is gone. Both sides are hostile and of any size: layers come from
// a registry, names from the target. Nothing is unpacked; what does not fit into a bounded
// memory is sorted on disk.
package drift
