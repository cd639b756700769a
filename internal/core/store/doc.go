// Package store is what is on the disk: the names in a store's home directory, the parents and the forms of layers, locks, scratch directories,
// and the mount that home is.
package store
