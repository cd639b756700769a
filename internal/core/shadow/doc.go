// Package shadow finds out which shadows a layer needs in a mount, makes them, and keeps them. A shadow is a directory of whiteouts that stands
// above the layer, or below it, when the backend does not take the layer's own marks as they are meant.
package shadow
