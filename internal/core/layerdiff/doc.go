// Package layerdiff reads the difference between a layer and its parent: its archive, its changes, its size, and single
// files.
package layerdiff
