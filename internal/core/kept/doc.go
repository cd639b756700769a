// Package kept keeps what an archive brought and its layer does not show, so that the archive can be given back byte for byte.
package kept
