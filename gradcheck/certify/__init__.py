"""Certificates: decide whether a gradient is right as an identity, without a tolerance. See README.md."""

from gradcheck.certify.certificate import Certificate, certify, same

__all__ = ["Certificate", "certify", "same"]
