// Package layertar reads a layer's archive while it is unpacked, to know what is in it, and writes one in pieces.
package layertar
