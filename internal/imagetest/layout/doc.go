// Package layout writes and reads OCI image layouts: directories with one image
// for one platform. The image's layers are not compressed, so a layer's digest
// is also its diff ID.
//
// The OCI image specification describes the format in image-layout.md.
package layout
