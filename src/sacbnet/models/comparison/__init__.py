"""The networks that SACB-Net was compared with, built anew from their papers. Nothing is imported here."""
