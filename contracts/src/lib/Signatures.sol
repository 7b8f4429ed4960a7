// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The signer of a digest
library Signatures {
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice The signer of `digest`, or 0. Accepts only r ‖ s ‖ v with the lower s and with v of 27 or 28, so that a
    /// signature has one form and nobody can alter it on its way.
    function signerOf(bytes32 digest, bytes calldata signature) internal pure returns (address) {
        if (signature.length != 65) return address(0);
        (bytes32 r, bytes32 s) = abi.decode(signature[:64], (bytes32, bytes32));
        if (uint256(s) > HALF_ORDER) return address(0);
        return ecrecover(digest, uint8(signature[64]), r, s);
    }
}
