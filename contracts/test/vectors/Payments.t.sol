// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Share} from "../../src/interfaces/Types.sol";
import {Signatures} from "../../src/lib/Signatures.sol";
import {Vectors} from "../support/Vectors.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @notice Signatures, permits and shares by the vectors that pytest reads too. What is signed since version 2 of the
/// domain is in Lanes.t.sol.
contract PaymentsVectorsTest is World {
    Vectors private _vectors = new Vectors("payments");
    Vectors private _attribution = new Vectors("attribution");
    Vectors private _from;
    string private _rule;
    string private _at;

    /// @dev The token's own domain, as the token itself says it.
    function test_permit_digests() public {
        for (uint256 i = 0; _case(_vectors, "permit_digest", i); ++i) {
            bytes32 kind =
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
            bytes32 structHash = keccak256(
                abi.encode(
                    kind,
                    _account("owner"),
                    _account("spender"),
                    _number("value_wei"),
                    _number("nonce"),
                    _number("deadline_s")
                )
            );
            _isDigest("OpenLedger", structHash);
            vm.etch(_account("contract"), address(token).code);
            (, bytes memory domain) = _account("contract").staticcall(abi.encodeWithSignature("DOMAIN_SEPARATOR()"));
            eq("by the token", keccak256(abi.encodePacked(hex"1901", domain, structHash)), _output());
        }
    }

    function test_who_signed() public {
        for (uint256 i = 0; _case(_vectors, "recover_address", i); ++i) {
            address signer_ = this.signerOf(_word("digest"), _from.raw(string.concat(_at, ".input.signature")));
            eq("signer", signer_, _isError() ? address(0) : _from.account(string.concat(_at, ".output")));
        }
        for (uint256 i = 0; _case(_vectors, "sign_digest", i); ++i) {
            if (_isError()) continue;
            bytes memory signature = _from.raw(string.concat(_at, ".output"));
            address expected = vm.addr(uint256(_word("private_key")));
            eq("signer", this.signerOf(_word("digest"), signature), expected);
        }
    }

    function test_shares_hashes() public {
        for (uint256 i = 0; _case(_attribution, "shares_hash", i); ++i) {
            string memory list = string.concat(_at, ".input");
            Share[] memory shares = new Share[](_from.count(list));
            for (uint256 s = 0; s < shares.length; ++s) {
                string memory at = string.concat(list, "[", vm.toString(s), "].");
                shares[s].datanetId = _from.word(string.concat(at, "datanet_id"));
                shares[s].account = _from.account(string.concat(at, "account"));
                shares[s].ppm = uint32(_from.number(string.concat(at, "ppm")));
            }
            eq("shares", keccak256(abi.encode(shares)), _output());
        }
    }

    // ---- the library takes calldata ----

    function signerOf(bytes32 digest, bytes calldata signature) external pure returns (address) {
        return Signatures.signerOf(digest, signature);
    }

    // ---- reading ----

    function _case(Vectors from, string memory rule, uint256 i) private returns (bool) {
        (_from, _rule) = (from, rule);
        _at = string.concat(".rules.", rule, "[", vm.toString(i), "]");
        bool isThere = from.has(_at);
        yes(string.concat(rule, " has cases"), isThere || i > 0);
        return isThere;
    }

    function _isDigest(string memory name, bytes32 structHash) private {
        vm.chainId(_number("chain_id"));
        eq(_rule, _typed(name, _account("contract"), structHash), _output());
    }

    function _isError() private view returns (bool) {
        return _from.has(string.concat(_at, ".error"));
    }

    function _output() private view returns (bytes32) {
        return _from.word(string.concat(_at, ".output"));
    }

    function _word(string memory key) private view returns (bytes32) {
        return _from.word(string.concat(_at, ".input.", key));
    }

    function _number(string memory key) private view returns (uint256) {
        return _from.number(string.concat(_at, ".input.", key));
    }

    function _account(string memory key) private view returns (address) {
        return _from.account(string.concat(_at, ".input.", key));
    }
}
