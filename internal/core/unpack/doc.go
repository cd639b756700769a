// Package unpack makes a layer's directory from an archive. It has the storage library extract the archive, and then
// turns the result into what a layer may have in it.
package unpack
