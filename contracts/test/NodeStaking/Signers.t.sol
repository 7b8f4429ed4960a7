// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {INodeStaking as I} from "../../src/interfaces/INodeStaking.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract SignersTest is World {
    uint64 private _until;

    function setUp() public override {
        super.setUp();
        _until = uint64(block.timestamp) + 1 days;
    }

    function test_a_hot_key_signs_from_the_moment_it_is_set() public {
        yes("not before", !staking.isSigner(node, stranger));
        _emits(address(staking));
        emit I.SignerSet(node, stranger);
        bytes memory consent = _consent(STRANGER_KEY, node, _until);
        vm.prank(node);
        staking.setSigner(stranger, _until, consent);
        yes("signer", staking.isSigner(node, stranger));
        yes("the first one too", staking.isSigner(node, signer));
        yes("for this node only", !staking.isSigner(payer, stranger));
        eq("until", staking.signerUntil(node, stranger), type(uint64).max);
    }

    function test_the_cold_key_always_signs() public view {
        yes("node", staking.isSigner(node, node));
        yes("anybody, for himself", staking.isSigner(stranger, stranger));
    }

    /// @dev F: a stolen hot key cannot name another, nor take itself back, nor move the earnings.
    function test_a_hot_key_cannot_set_anything_of_its_node() public {
        bytes memory consent = _consent(STRANGER_KEY, signer, _until);
        vm.startPrank(signer);
        staking.setSigner(stranger, _until, consent);
        rewards.setPayout(stranger, true);
        yes("no signer of the node's", !staking.isSigner(node, stranger));
        (address payout,) = rewards.payoutOf(node);
        eq("payout", payout, node);
        _refuses(I.NotASigner.selector, abi.encode(signer, node));
        staking.revokeSigner(node);
    }

    function test_zero_and_oneself_are_no_signers() public {
        _refuses(I.BadSigner.selector, abi.encode(address(0)));
        vm.prank(node);
        staking.setSigner(address(0), _until, "");
        bytes memory consent = _consent(NODE_KEY, node, _until);
        _refuses(I.BadSigner.selector, abi.encode(node));
        vm.prank(node);
        staking.setSigner(node, _until, consent);
        yes("zero", !staking.isSigner(node, address(0)));
    }

    /// @dev F: a key that signs two of the same and is revoked in the next block would be out of reach.
    function test_a_revoked_key_has_no_power_and_stays_punishable() public {
        uint64 until = uint64(block.timestamp) + windows().unbonding;
        _emits(address(staking));
        emit I.SignerRevoked(node, signer, until);
        vm.prank(node);
        staking.revokeSigner(signer);
        yes("no signer", !staking.isSigner(node, signer));
        eq("until", staking.signerUntil(node, signer), until);
    }

    function test_a_key_is_revoked_once() public {
        vm.startPrank(node);
        staking.revokeSigner(signer);
        vm.warp(block.timestamp + 1);
        _refuses(I.NotASigner.selector, abi.encode(node, signer));
        staking.revokeSigner(signer);
        _refuses(I.NotASigner.selector, abi.encode(node, stranger));
        staking.revokeSigner(stranger);
    }

    function test_a_revoked_key_can_be_set_again() public {
        bytes memory consent = _consent(SIGNER_KEY, node, _until);
        vm.startPrank(node);
        staking.revokeSigner(signer);
        staking.setSigner(signer, _until, consent);
        yes("signer", staking.isSigner(node, signer));
    }

    /// @dev F: a node that names somebody else's key could have that key's signatures count as its own.
    function test_a_key_that_did_not_consent_is_refused() public {
        uint256[2] memory keys = [NODE_KEY, SIGNER_KEY];
        for (uint256 i = 0; i < keys.length; ++i) {
            bytes memory consent = _consent(keys[i], node, _until);
            _refuses(I.NoConsent.selector, abi.encode(stranger, vm.addr(keys[i])));
            vm.prank(node);
            staking.setSigner(stranger, _until, consent);
        }
        _refuses(I.NoConsent.selector, abi.encode(stranger, address(0)));
        vm.prank(node);
        staking.setSigner(stranger, _until, "");
    }

    function test_a_consent_is_for_one_node() public {
        bytes memory consent = _consent(STRANGER_KEY, payer, _until);
        vm.expectPartialRevert(I.NoConsent.selector);
        vm.prank(node);
        staking.setSigner(stranger, _until, consent);
    }

    function test_a_consent_ends() public {
        bytes memory consent = _consent(STRANGER_KEY, node, _until);
        vm.startPrank(node);
        vm.expectPartialRevert(I.NoConsent.selector);
        staking.setSigner(stranger, _until + 1, consent);
        vm.warp(_until + 1);
        _refuses(I.ConsentExpired.selector, abi.encode(_until));
        staking.setSigner(stranger, _until, consent);
        vm.warp(_until);
        staking.setSigner(stranger, _until, consent);
    }

    function test_a_consent_in_another_form_is_refused() public {
        bytes[4] memory forms = _forms(_consent(STRANGER_KEY, node, _until));
        for (uint256 i = 0; i < forms.length; ++i) {
            _refuses(I.NoConsent.selector, abi.encode(stranger, address(0)));
            vm.prank(node);
            staking.setSigner(stranger, _until, forms[i]);
        }
    }
}
