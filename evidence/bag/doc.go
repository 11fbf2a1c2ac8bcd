// Package bag writes a bundle: a BagIt 1.0 bag (RFC 8493) into which artifacts stream,
// hashed as they pass, and which is sealed once.
//
// The order of a bundle's life is: Create or Open; Add and WriteTag in any number;
// Freeze, which ends adding and compares what the disk holds with what arrived; a record
// of action sealed, appended to the custody log by the caller; Seal. After Seal nothing
// changes. Each of these may be called again after a crash in the middle of it.
package bag
