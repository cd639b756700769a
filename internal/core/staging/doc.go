// Package staging has directories that are filled before it is known which layer their content is for. A staging
// directory later takes the place of a layer's directory, or is removed.
//
// A differ of the storage library fills layers this way. For example, the differ of pkg/chunked fetches only those
// parts of a layer that no other layer has. The storage library calls the path that a differ fills its target.
//
// An archive can be unpacked this way as well. While it is unpacked, the storage library does not lock its store, and
// other programs can use the store. The commit, for which the library locks the store, does what depends on the layers
// below, and puts the files in their place.
package staging
