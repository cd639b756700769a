// Package store knows what a store has on the disk: the names in its home directory, the parents and forms of layers, locks, scratch
// directories, and the mount at home.
package store
