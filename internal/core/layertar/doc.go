// Package layertar reads a layer's archive while it is unpacked, to find out what is in it, and passes archives from
// one goroutine to another in chunks.
package layertar
