// Package overlayfs makes one overlay mount, by whichever calls the kernel has. It knows nothing of layers.
package overlayfs
