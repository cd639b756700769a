// Package layerquota gives layers quotas: it records the project and the limits of a layer, and sees that the layer's files count in the project.
package layerquota
