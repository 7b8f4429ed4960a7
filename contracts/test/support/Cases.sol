// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, PPM, Receipt, Share} from "../../src/interfaces/Types.sol";
import {ICases} from "./Contracts.sol";
import {Receipts} from "./Receipts.sol";
import {vm} from "./Vm.sol";

/// @notice A small network with Disputes, and everything that a payer needs for a challenge.
abstract contract Cases is Receipts {
    struct Evidence {
        ChannelConfig config;
        Receipt receipt;
        Share[] shares;
        bytes nodeSig;
        bytes prompt;
        bytes output;
    }

    uint96 internal constant CASE_BOND = uint96(MIN_STAKE / 20);

    ICases internal cases;

    function setUp() public virtual override {
        super.setUp();
        address[3] memory willing = [payer, authorizer, stranger];
        for (uint256 i = 0; i < willing.length; ++i) _mayBond(willing[i]);
        _mayBond(node);
    }

    function _disputes() internal override returns (address) {
        cases = ICases(_new("Disputes", abi.encode(token, params, channels, staking, rewards, treasury)));
        return address(cases);
    }

    function _mayBond(address account) internal {
        token.transfer(account, 10 * MIN_STAKE);
        vm.prank(account);
        token.approve(address(cases), type(uint256).max);
    }

    // ---- evidence ----

    /// @dev The `n`-th receipt of the node for the payer's channel 1, signed by the node's hot key.
    function _evidence(uint256 n) internal view returns (Evidence memory) {
        bytes32 salt = bytes32(n);
        return _evidence(_config(1), n, abi.encodePacked(salt, "a prompt"), abi.encodePacked(salt, "an answer"));
    }

    function _evidence(ChannelConfig memory config, uint256 n, bytes memory prompt, bytes memory output)
        internal
        view
        returns (Evidence memory e)
    {
        (e.config, e.prompt, e.output) = (config, prompt, output);
        e.shares = new Share[](1);
        e.shares[0] = Share(first, alice, uint32(PPM));
        Receipt memory r = e.receipt;
        (r.channelId, r.adapterId) = (channels.channelId(config), TWO);
        (r.seq, r.issuedAt) = (uint64(n), uint64(block.timestamp));
        (r.amount, r.cumulative, r.algoId) = (OPEN, OPEN * uint128(n + 1), 1);
        r.sharesHash = keccak256(abi.encode(e.shares));
        (r.work.requestId, r.work.tokensIn, r.work.tokensOut) = (bytes32(n), 7, 9);
        (r.work.promptCommit, r.work.outputCommit) = (keccak256(prompt), keccak256(output));
        _signBy(SIGNER_KEY, e);
    }

    function _signBy(uint256 key, Evidence memory e) internal view {
        e.nodeSig = _sign(key, _digest(e.receipt));
    }

    function _digest(Receipt memory receipt) internal view returns (bytes32) {
        Entry memory entry;
        entry.receipt = receipt;
        return _digest(entry);
    }

    // ---- actions ----

    function _challenge(Evidence memory e) internal returns (bytes32) {
        return _challengeBy(payer, e);
    }

    function _challengeBy(address caller, Evidence memory e) internal returns (bytes32) {
        vm.prank(caller);
        return cases.challenge(e.config, e.receipt, e.shares, e.nodeSig, e.prompt, e.output);
    }

    function _contestBy(address caller, bytes32 digest) internal {
        vm.prank(caller);
        cases.contest(digest);
    }

    function _judge(bytes32 digest, bool guilty) internal {
        vm.prank(governor);
        cases.judge(digest, guilty);
    }

    /// @dev Let the judge's time pass, and close.
    function _lapse(bytes32 digest) internal {
        vm.warp(block.timestamp + windows().judge + 1);
        cases.close(digest);
    }

    function _withdrawAll(address account) internal returns (uint256) {
        vm.prank(account);
        return cases.withdraw(account);
    }
}
