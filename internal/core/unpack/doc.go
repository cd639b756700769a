// Package unpack makes a layer's directory of an archive: it has a storage library extract it, and brings what is there then into the form
// that a layer has.
package unpack
