// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, ClaimFor, EpochClaim, Receipt, Share, Work} from "../../src/interfaces/Types.sol";
import {Hashes} from "../../src/lib/Hashes.sol";
import {Signatures} from "../../src/lib/Signatures.sol";
import {IChannels} from "../support/Contracts.sol";
import {Vectors} from "../support/Vectors.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @notice The digests that nodes and payers sign, by the library that the contracts hash with.
contract PaymentsVectorsTest is World {
    Vectors private _vectors = new Vectors("payments");
    Vectors private _settlement = new Vectors("settlement");
    Vectors private _attribution = new Vectors("attribution");
    Vectors private _from;
    string private _rule;
    string private _at;

    function test_channel_ids() public {
        for (uint256 i = 0; _case(_vectors, "channel_id", i); ++i) {
            ChannelConfig memory config = ChannelConfig({
                payer: _account("payer"),
                authorizer: _account("authorizer"),
                node: _account("node"),
                withdrawDelay: uint64(_number("withdraw_delay_s")),
                salt: _word("salt")
            });
            _isDigest("OpenLedgerPayments", this.hashOf(config));
            address at = _account("contract");
            if (uint160(at) < 256) continue; // no code can be put there
            vm.etch(at, address(channels).code);
            eq("by the contract", IChannels(at).channelId(config), _output());
        }
    }

    function test_voucher_digests() public {
        for (uint256 i = 0; _case(_vectors, "voucher_digest", i); ++i) {
            if (_isError()) continue; // does not fit its type
            _isDigest(
                "OpenLedgerPayments", Hashes.ofVoucher(_word("channel_id"), uint128(_number("max_claimable_wei")))
            );
        }
    }

    function test_receipt_digests() public {
        for (uint256 i = 0; _case(_vectors, "receipt_digest", i); ++i) {
            _isDigest("OpenLedgerPayments", Hashes.ofReceipt(_receipt()));
        }
    }

    function test_refund_digests() public {
        for (uint256 i = 0; _case(_vectors, "refund_digest", i); ++i) {
            bytes32 structHash = Hashes.ofRefund(_word("channel_id"), uint128(_number("amount_wei")), _number("nonce"));
            _isDigest("OpenLedgerPayments", structHash);
        }
    }

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

    function test_claim_digests() public {
        for (uint256 i = 0; _case(_settlement, "claim_digest", i); ++i) {
            EpochClaim memory epochClaim = EpochClaim({
                node: _account("node"),
                seq: uint64(_number("seq")),
                epoch: uint64(_number("epoch")),
                itemsHash: _word("items_hash"),
                receiptsRoot: _word("receipts_root"),
                count: uint32(_number("count"))
            });
            _isDigest("OpenLedgerPayments", this.hashOf(epochClaim));
        }
    }

    function test_proposal_digests() public {
        for (uint256 i = 0; _case(_settlement, "proposal_digest", i); ++i) {
            bytes32 structHash = Hashes.ofProposal(
                _account("node"),
                uint64(_number("seq")),
                _word("attribution_root"),
                uint32(_number("leaf_count")),
                _word("payouts_hash")
            );
            _isDigest("OpenLedgerRewards", structHash);
        }
    }

    function test_claim_for_digests() public {
        for (uint256 i = 0; _case(_settlement, "claim_for_digest", i); ++i) {
            ClaimFor memory claim = ClaimFor({
                account: _account("account"),
                to: _account("to"),
                amount: uint128(_number("amount_wei")),
                nonce: _number("nonce"),
                deadline: uint64(_number("deadline_s"))
            });
            _isDigest("OpenLedgerRewards", this.hashOf(claim));
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

    function test_nonces_and_sampling() public {
        for (uint256 i = 0; _case(_vectors, "nonce_commit", i); ++i) {
            eq("commit", keccak256(abi.encode(_word("nonce"))), _output());
        }
        for (uint256 i = 0; _case(_vectors, "is_sampled", i); ++i) {
            uint256 draw = uint256(keccak256(abi.encode(_word("nonce"), _word("receipt_digest"))));
            yes("sampled", (draw < 2 ** 253) == _from.flag(string.concat(_at, ".output")));
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

    function hashOf(ChannelConfig calldata config) external pure returns (bytes32) {
        return Hashes.ofConfig(config);
    }

    function hashOf(EpochClaim calldata epochClaim) external pure returns (bytes32) {
        return Hashes.ofEpochClaim(epochClaim);
    }

    function hashOf(ClaimFor calldata claim) external pure returns (bytes32) {
        return Hashes.ofClaimFor(claim);
    }

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

    function _receipt() private view returns (Receipt memory receipt) {
        receipt.channelId = _word("channel_id");
        receipt.seq = uint64(_number("seq"));
        receipt.adapterId = _word("adapter_id");
        (receipt.amount, receipt.cumulative) = (uint128(_number("amount_wei")), uint128(_number("cumulative_wei")));
        (receipt.algoId, receipt.flags) = (uint32(_number("algo_id")), uint32(_number("flags")));
        (receipt.nonceCommit, receipt.sharesHash) = (_word("nonce_commit"), _word("shares_hash"));
        Work memory work = receipt.work;
        (work.requestId, work.profileHash) = (_word("request_id"), _word("profile_hash"));
        (work.indexRoot, work.retrievalHash) = (_word("index_root"), _word("retrieval_hash"));
        (work.tokensIn, work.tokensOut) = (uint32(_number("tokens_in")), uint32(_number("tokens_out")));
        (work.promptCommit, work.outputCommit) = (_word("prompt_commit"), _word("output_commit"));
        work.fingerprint = _word("fingerprint");
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
