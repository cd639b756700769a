// Package shadow finds out which shadows a layer needs in a mount, makes them, and keeps them. A shadow is a directory of marks that is
// mounted above or below a layer. It is needed if the backend does not read the layer's own marks as they are meant.
package shadow
