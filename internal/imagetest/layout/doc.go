// Package layout writes and reads OCI image layouts: directories with one image
// for one platform, whose layers are not compressed. A layer's digest is then
// its diff ID as well.
//
// The format is that of the OCI image specification, image-layout.md.
package layout
