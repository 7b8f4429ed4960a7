// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Signatures} from "../../src/lib/Signatures.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract SignaturesTest is World {
    function signerOf(bytes32 digest, bytes calldata signature) external pure returns (address) {
        return Signatures.signerOf(digest, signature);
    }

    function test_fuzz_the_signer_is_found(uint256 key, bytes32 digest) public view {
        key = within(key, 1, 2 ** 255);
        eq("signer", this.signerOf(digest, _sign(key, digest)), vm.addr(key));
    }

    function test_fuzz_there_is_one_form(uint256 key, bytes32 digest) public view {
        bytes[4] memory forms = _forms(_sign(within(key, 1, 2 ** 255), digest));
        for (uint256 i = 0; i < forms.length; ++i) eq("nobody", this.signerOf(digest, forms[i]), address(0));
    }

    /// @dev Signed with the key 1 and the secret number 2, so that s is half of what is left of digest + r.
    function test_the_highest_s_is_the_lower_half() public view {
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        uint256 r = 0xc6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5; // x of two times the generator
        bytes memory highest = abi.encodePacked(r, order / 2, uint8(27));
        bytes memory above = abi.encodePacked(r, order / 2 + 1, uint8(27));
        eq("signer", this.signerOf(bytes32(order - 1 - r), highest), vm.addr(1));
        eq("recovered", ecrecover(bytes32(order + 1 - r), 27, bytes32(r), bytes32(order / 2 + 1)), vm.addr(1));
        eq("nobody", this.signerOf(bytes32(order + 1 - r), above), address(0));
    }

    function test_every_other_length_and_v_is_nobody() public view {
        bytes memory signature = _sign(NODE_KEY, "digest");
        for (uint256 v = 0; v < 256; ++v) {
            if (v == 27 || v == 28) continue;
            signature[64] = bytes1(uint8(v));
            eq("nobody", this.signerOf("digest", signature), address(0));
        }
        for (uint256 length = 0; length < 130; ++length) {
            if (length != 65) eq("nobody", this.signerOf("digest", new bytes(length)), address(0));
        }
        eq("zeros", this.signerOf("digest", new bytes(65)), address(0));
    }
}
