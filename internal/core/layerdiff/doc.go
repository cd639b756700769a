// Package layerdiff reads what makes a layer out of its parent: its archive, its changes, its size, and single files.
package layerdiff
